"""Run pcam from a checkout: python cli.py extract …"""

from pcam_features.cli.main import main

if __name__ == "__main__":
    main()
