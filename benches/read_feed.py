#!/usr/bin/env python3
"""read_feed.py QUERY: reads a feed from its beginning through psycopg, and prints the number of events.

QUERY gives the events after the place $1, 1000 at a time: where to go on, anything, the document as text.
"""

import json, sys
import psycopg

query = sys.argv[1].rstrip(";").replace("$1", "%s")
place, count = 0, 0
with psycopg.connect(autocommit=True) as connection:
    while rows := connection.execute(query, [place], prepare=True).fetchall():
        for place, _, document in rows:
            assert json.loads(document)["eventId"]
        count += len(rows)
print(count)
