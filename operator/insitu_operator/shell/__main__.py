from insitu_operator.shell.main import main

main()
