"""Clips over HTTP: jobs that survive a crash, video that plays while it is made.

run.py       a server with its workers          settings.py   what it is told
app.py       routes, nothing else               guard.py      who may ask: names, origins, keys
desk.py      jobs taken in, asked after         keys.py       API keys, as hashes
schema.py    what goes in and out over HTTP     asked.py      bodies and forms
refusals.py  errors, in one shape               uploads.py    pictures from strangers
tables.py    what the database holds            schema_version.py, migrations/
store.py     jobs and their leases              sessions.py   live ones
worker.py    processes with a model             pace.py       how far, how long
making.py    one job, from row to files         window.py     a live session, by windows
watching.py  bytes and news of a job            live.py       its socket; talk.py: the words
files.py     what a job keeps on disk           pictures.py   thumbnail, spritesheet, preview
sweep.py     what is old goes                   logs.py, metrics.py
page/        the web page, no build step
"""
