"""A stand-in for model servers: OpenAI's protocol over a real socket, with faults on demand.

It is a process of its own (`python -m tests.support.standin --port 0`) and plays both tiers in tests: a vLLM
(`--max-model-len`) and a paid upstream (`--require-key`). `script.py` has the fields of a rule,
`replies.py` the wire format, `server.py` the routes.
"""
