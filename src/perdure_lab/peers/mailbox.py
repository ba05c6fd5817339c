"""Where fowl's two ends meet: PyPI `magic-wormhole-mailbox-server`.

python -m perdure_lab.peers.mailbox FOLDER PORT
"""

from __future__ import annotations

import os
import sys

from perdure_lab.peers import words


def main() -> None:
    folder, port = sys.argv[1:]
    words.require("fowl", "wormhole_mailbox_server", "twisted", package="fowl")
    own = ["--port", f"tcp:{port}:interface=\\:\\:", "--channel-db", f"{folder}/mailbox.sqlite"]
    os.execv(sys.executable, [sys.executable, "-m", "twisted", "wormhole-mailbox", *own])


if __name__ == "__main__":
    main()
