"""The official clients of OpenAI, Anthropic and Google against the mock models at the URL that is the argument.

Whatever a client cannot read raises; what it has read is checked here. Prints one line when all is well.
"""

import json
import sys

import anthropic
import openai
from google import genai
from google.genai import types

url = sys.argv[1]
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def check(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def with_openai():
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
    hello = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(model="m", messages=hello, max_tokens=50)
    check(whole.choices[0].message.content, "hello to you")
    check(whole.choices[0].finish_reason, "stop")
    check((whole.usage.prompt_tokens, whole.usage.completion_tokens), (7, 3))
    check(whole.usage.prompt_tokens_details.cached_tokens, 2)

    chunks = list(
        client.chat.completions.create(
            model="m", messages=hello, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check(text, "hello to you")
    check(chunks[-1].usage.total_tokens, 10)

    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    asked = [{"role": "user", "content": "the weather?"}]
    with client.chat.completions.stream(model="m", messages=asked, tools=tools) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    calls = [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls]
    check(calls, [("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"})])
    results = [{"role": "tool", "tool_call_id": c.id, "content": "sun"} for c in message.tool_calls]
    said = {
        "role": "assistant",
        "tool_calls": [c.model_dump(include={"id", "type", "function"}) for c in message.tool_calls],
    }
    answer = client.chat.completions.create(model="m", messages=[*asked, said, *results], tools=tools)
    check(answer.choices[0].message.content, "sunny in both")

    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    data = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "a number"}], response_format=form
    )
    check(json.loads(data.choices[0].message.content), {"n": 42})
    try:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "busy"}])
        raise AssertionError("no error")
    except openai.RateLimitError as error:
        check((error.status_code, error.response.headers["retry-after"]), (429, "7"))
        assert "slow down" in error.message


def with_anthropic():
    client = anthropic.Anthropic(base_url=url, api_key="x", max_retries=0)
    hello = [{"role": "user", "content": "hello"}]
    whole = client.messages.create(model="m", max_tokens=50, messages=hello)
    check((whole.content[0].type, whole.content[0].text), ("text", "hello to you"))
    check(whole.stop_reason, "end_turn")
    check((whole.usage.input_tokens, whole.usage.cache_read_input_tokens), (5, 2))
    check(whole.usage.output_tokens, 3)

    with client.messages.stream(model="m", max_tokens=50, messages=hello) as stream:
        check("".join(stream.text_stream), "hello to you")
        check(stream.get_final_message().usage.output_tokens, 3)

    tools = [{"name": "weather", "input_schema": PARAMETERS}]
    asked = [{"role": "user", "content": "the weather?"}]
    with client.messages.stream(model="m", max_tokens=50, messages=asked, tools=tools) as stream:
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    check([c.input for c in calls], [{"city": "Oslo"}, {"city": "Rome"}])
    check(message.stop_reason, "tool_use")
    said = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.input} for c in calls]
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": "sun"} for c in calls]
    turns = [*asked, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
    answer = client.messages.create(model="m", max_tokens=50, messages=turns, tools=tools)
    check(answer.content[0].text, "sunny in both")

    tool = {"name": "answer", "input_schema": SCHEMA}
    data = client.messages.create(
        model="m",
        max_tokens=50,
        messages=[{"role": "user", "content": "a number"}],
        tools=[tool],
        tool_choice={"type": "tool", "name": "answer"},
    )
    check(data.content[0].input, {"n": 42})
    try:
        client.messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "busy"}]
        )
        raise AssertionError("no error")
    except anthropic.RateLimitError as error:
        check((error.status_code, error.response.headers["retry-after"]), (429, "7"))


def with_google():
    client = genai.Client(api_key="x", http_options=types.HttpOptions(base_url=url))
    whole = client.models.generate_content(model="m", contents="hello")
    check(whole.text, "hello to you")
    check(whole.candidates[0].finish_reason, types.FinishReason.STOP)
    check(whole.usage_metadata.prompt_token_count, 7)
    check(whole.usage_metadata.cached_content_token_count, 2)

    chunks = list(client.models.generate_content_stream(model="m", contents="hello"))
    check("".join(c.text or "" for c in chunks), "hello to you")
    check(chunks[-1].usage_metadata.candidates_token_count, 3)

    declaration = types.FunctionDeclaration(name="weather", parameters_json_schema=PARAMETERS)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    asked = types.Content(role="user", parts=[types.Part(text="the weather?")])
    stream = client.models.generate_content_stream(model="m", contents=[asked], config=config)
    calls = [call for chunk in stream for call in chunk.function_calls or []]
    check([call.args for call in calls], [{"city": "Oslo"}, {"city": "Rome"}])
    said = types.Content(role="model", parts=[types.Part(function_call=call) for call in calls])
    results = [
        types.Part(
            function_response=types.FunctionResponse(
                id=call.id, name=call.name, response={"output": "sun"}
            )
        )
        for call in calls
    ]
    turns = [asked, said, types.Content(role="user", parts=results)]
    answer = client.models.generate_content(model="m", contents=turns, config=config)
    check(answer.text, "sunny in both")

    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=SCHEMA
    )
    data = client.models.generate_content(model="m", contents="a number", config=config)
    check(json.loads(data.text), {"n": 42})
    try:
        client.models.generate_content(model="m", contents="busy")
        raise AssertionError("no error")
    except genai.errors.ClientError as error:
        check(error.code, 429)


with_openai()
with_anthropic()
with_google()
print("all clients accept the mock models")
