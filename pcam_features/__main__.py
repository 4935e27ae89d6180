"""Run pcam as a module: python -m pcam_features extract …"""

from .cli.main import main

if __name__ == "__main__":
    main()
