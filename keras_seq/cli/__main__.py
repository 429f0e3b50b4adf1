"""`python -m keras_seq.cli`, for where the script is not on the path."""

from keras_seq.cli.app import main

if __name__ == "__main__":
    main()
