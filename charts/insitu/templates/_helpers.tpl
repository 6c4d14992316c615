{{- define "insitu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* In front of all names. At most 40 characters: longer ones with an ending have to fit in 63. */}}
{{- define "insitu.fullname" -}}
{{- $name := include "insitu.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of objects without a namespace, for one release of many. */}}
{{- define "insitu.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "insitu.fullname" .) -}}
{{- end -}}

{{- define "insitu.selector" -}}
app.kubernetes.io/name: {{ include "insitu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "insitu.labels" -}}
{{ include "insitu.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "insitu.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "insitu.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name has to be set where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* A reference to an image; nothing where it has no repository. Given (list image context). */}}
{{- define "insitu.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- if $image.repository -}}
{{- with $root.Values.images.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
@{{ $image.digest }}
{{- else -}}
:{{ default $root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The watched namespaces, separated by commas; nothing where all are. */}}
{{- define "insitu.namespaces" -}}
{{- if not (has "*" .Values.watchNamespaces) -}}
{{- default (list .Release.Namespace) .Values.watchNamespaces | join "," -}}
{{- end -}}
{{- end -}}

{{- define "insitu.heartbeats" -}}
{{- printf "%s-heartbeats" (include "insitu.fullname" .) -}}
{{- end -}}
