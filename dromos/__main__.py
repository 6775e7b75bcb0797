from dromos.cli import main

main()
