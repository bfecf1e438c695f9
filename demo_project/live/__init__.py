"""``make live``: the two accounts side by side, and switches that break the way between them.

``manage.py live`` (:mod:`.supervisor`) starts the emulator, a relay and the site, each a process.
The site (the other modules) keeps the shop, reads account B's stream back, and shows both.
"""
