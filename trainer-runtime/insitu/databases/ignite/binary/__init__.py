"""Values as they are on the wire: the general decoder and encoder."""
