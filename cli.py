"""Run pcam from a checkout: python cli.py extract …"""

from pcam_features.__main__ import main

if __name__ == "__main__":
    main()
