"""Clips over HTTP: jobs that survive a crash, video that plays while it is made.

app.py      routes, nothing else        schema.py   what goes in and out over HTTP
store.py    the jobs, in a database     files.py    what a job keeps on disk
worker.py   a process with a model      making.py   one job, from its row to its files
"""
