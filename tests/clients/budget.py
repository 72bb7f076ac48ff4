"""How often the Python SDK asks when the gateway's own budget is used up. python budget.py BASE_URL KEY"""

import json
import logging
import sys

import anthropic

base_url, key = sys.argv[1:]
retries = []
log = logging.getLogger("anthropic")
log.setLevel(logging.DEBUG)
counter = logging.Handler()
counter.emit = lambda record: retries.append(record) if record.getMessage().startswith("Retrying") else None
log.addHandler(counter)
client = anthropic.Anthropic(base_url=base_url, api_key=key)
try:
    client.messages.create(model="claude-sonnet-5-5", max_tokens=300, messages=[{"role": "user", "content": "Hello"}])
except anthropic.APIStatusError as problem:
    print(json.dumps({"status": problem.status_code, "error": problem.body["error"], "requests": 1 + len(retries)}))
