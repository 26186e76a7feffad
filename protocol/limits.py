"""Hard limits of the wire, the same for every server and client of this version.

A deployment may set narrower ones in `config`; WELCOME tells a client those that
bind it. None of these can be widened without a new protocol version.
"""

from __future__ import annotations

from typing import Final

# The protocol this code speaks; HELLO and WELCOME carry it.
VERSION: Final = 1

# WebSocket path of the endpoint.
PATH: Final = "/ws"

# Bytes of one frame from client to server. The largest honest one is a HELLO with a
# long signed token; an INPUT of a game takes tens of bytes.
FRAME_BYTES_MAX: Final = 4096

# Bytes of one frame from server to client. A KEYFRAME of 65,536 entities of 60 bytes
# fits; what is longer is no frame of ours, and a client need not buffer it.
SERVER_FRAME_BYTES_MAX: Final = 8 * 1024 * 1024

# UTF-8 bytes of a display name: the size of a name column that still packs well.
NAME_BYTES_MAX: Final = 24

# UTF-8 bytes of HELLO's signed token: room for a JWT with a few claims and an RSA signature.
TOKEN_BYTES_MAX: Final = 3072

# UTF-8 bytes of a resume token: 32 random bytes and a server's name, with room to spare.
RESUME_BYTES_MAX: Final = 256

# Arguments of one command or event, and so elements of any array a client sends: enough
# for every game seen, little enough that a hostile frame makes no heap of objects.
ARGS_MAX: Final = 32

# Largest sequence number of an INPUT: it is held in 32 bits. At 20 inputs a second a
# session reaches it after six years.
SEQ_MAX: Final = 2**32 - 1

# Largest magnitude of an integer that a browser's number holds exactly; session
# numbers, ticks and PING's integer times stay below it.
EXACT_INT_MAX: Final = 2**53

# Ticks between two DELTAs of a region at the most: half of what `tick_low7` can tell
# apart (7 bits), so that a late or repeated DELTA is never taken for a new one.
TICK_GAP_MAX: Final = 64

# Largest handle of an entity, in a region declared larger than 65,536 entities.
HANDLE_MAX: Final = 2**32 - 1

# Largest region number.
REGION_MAX: Final = 2**32 - 1

# Archetypes of a game, numbered from 0; 255 marks an empty row in the server's tables.
ARCHETYPES_MAX: Final = 255

# UTF-8 bytes of the text of an ERROR or BYE: a sentence, not a page. RFC 6455 allows a
# close reason 123 bytes, and BYE's text is repeated there.
REASON_BYTES_MAX: Final = 120
