from daprlet.main import main

if __name__ == "__main__":
    main()
