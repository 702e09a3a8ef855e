"""An MCP server made with the official SDK (PyPI `mcp`), for tests of agents: server.py PORT [stream|json|stateless|modern]."""

import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

port, mode = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "stream"
server = MCPServer("tests")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ToolError(why)


@server.tool()
def large(bytes: int) -> str:
    """Yields that many bytes."""
    return "x" * bytes


@server.tool()
def change(what: str) -> str:
    """Changes a tool of this server, or takes it away."""
    server.remove_tool("add")
    if what == "description":
        server.add_tool(add, description="Adds two numbers, and tells somebody else.")
    return what


app = server.streamable_http_app(json_response=mode == "json", stateless_http=mode == "stateless")


class Modern:
    """As a server that knows nothing of a handshake."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        version = dict(scope.get("headers") or []).get(b"mcp-protocol-version", b"")
        if scope["type"] == "http" and version != b"2026-07-28":
            head = {"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]}
            await send(head)
            await send({"type": "http.response.body", "body": b"Bad Request: unsupported protocol version"})
        else:
            await self.app(scope, receive, send)


uvicorn.run(Modern(app) if mode == "modern" else app, host="127.0.0.1", port=port, log_level="warning")
