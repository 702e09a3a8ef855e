#!/usr/bin/env python3
"""Makes worker/src/models/prices.json out of the price list that comes with LiteLLM.

    pip download --no-deps litellm==VERSION -d FOLDER
    tools/model_prices.py FOLDER/litellm-VERSION-*.whl DATE > worker/src/models/prices.json

DATE is the day on which the wheel was fetched. Amounts are read and written as decimals, never as floats.
"""

import json
import re
import sys
import zipfile
from decimal import Decimal

TABLE = "litellm/model_prices_and_context_window_backup.json"
# What LiteLLM calls the providers that are called directly, and what workflows call them.
PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
# Their calls cost something besides tokens of text, or they are no models to chat with: a price by tokens alone would
# be too low. `ft:` are names to which an account is added.
LEFT_OUT = re.compile(r"^ft:|^gemini-exp|search|audio|deep-research|lyria|tts|container|omni|realtime|live|image|transcribe")
# Nano-dollars of a dollar, times tokens that a price is for.
SCALE = Decimal(10) ** 15
FIELDS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}


def nanos(amount):
    whole = amount * SCALE
    if whole != whole.to_integral_value() or whole < 0:
        raise SystemExit(f"{amount} is no whole number of nano-dollars for a million tokens")
    return int(whole)


def price(entry, suffix=""):
    """The price of a tier; what is not named there costs what it costs below it, or what the input costs."""
    found = {}
    for name, field in FIELDS.items():
        amount = entry.get(field + suffix, entry.get(field))
        if amount is not None:
            found[name] = nanos(Decimal(amount))
    reasoning = entry.get("output_cost_per_reasoning_token")
    if reasoning is not None:
        # Usage does not tell them apart.
        found["output"] = max(found["output"], nanos(Decimal(reasoning)))
    # What has no price of its own is billed as input. (Older models have no cache.)
    for name in ("cache_read", "cache_write"):
        found.setdefault(name, found["input"])
    return found


def main():
    wheel, date = sys.argv[1:]
    version = re.search(r"litellm-([0-9.]+)-", wheel).group(1)
    with zipfile.ZipFile(wheel) as archive:
        entries = json.loads(archive.read(TABLE), parse_float=Decimal)
    providers = {name: {} for name in PROVIDERS.values()}
    for key, entry in entries.items():
        provider = PROVIDERS.get(entry.get("litellm_provider"))
        name = key.removeprefix("gemini/")
        if provider is None or entry.get("mode") != "chat" or LEFT_OUT.search(name):
            continue
        if not entry.get("input_cost_per_token") or not entry.get("output_cost_per_token"):
            continue
        model = price(entry)
        tiers = {int(tier.group(1)) for field in entry if (tier := re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", field))}
        if len(tiers) > 1:
            raise SystemExit(f"{name} has {len(tiers)} tiers")
        for tier in tiers:
            model["above"] = {"tokens": tier * 1000, **price(entry, f"_above_{tier}k_tokens")}
        providers[provider][name] = model
    lines = []
    for provider, models in providers.items():
        rows = ",\n".join(f"      {json.dumps(name)}: {json.dumps(models[name])}" for name in sorted(models))
        lines.append(f"    {json.dumps(provider)}: {{\n{rows}\n    }}")
    about = {
        "source": f"{TABLE} of litellm {version} (PyPI)",
        "date": date,
        "licence": "MIT, Copyright (c) 2023 Berri AI; see NOTICE",
        "unit": "nano-dollars for a million tokens",
    }
    head = ",\n".join(f"  {json.dumps(name)}: {json.dumps(text)}" for name, text in about.items())
    joined = ",\n".join(lines)
    print(f'{{\n{head},\n  "providers": {{\n{joined}\n  }}\n}}')


main()
