"""An assistant on the web, with aiohttp: run this file and open http://127.0.0.1:8080.

It asks the server that ASYNCASSIST_BASE_URL names; without it, one beside it that needs no model.
"""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from asyncassist import Assistant, AsyncClient, errors

STATUSES: dict[object, int] = {errors.NotFoundError: 404, errors.ActiveRunError: 409, errors.WaitTimeoutError: 504}
CLIENT = web.AppKey("client", AsyncClient)
ASSISTANT = web.AppKey("assistant", Assistant)
routes = web.RouteTableDef()


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    async with AsyncClient() as app[CLIENT]:
        app[ASSISTANT] = await app[CLIENT].create_assistant(model="gpt-4o")
        yield
        await app[CLIENT].delete_assistant(app[ASSISTANT].id)


@web.middleware
async def tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.AsyncAssistError as error:
        return web.json_response({"error": type(error).__name__}, status=STATUSES.get(type(error), 502))


@routes.get("/")
async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(Path(__file__).with_name("page.html"))


@routes.post("/threads")
async def start(request: web.Request) -> web.Response:
    return web.json_response({"thread_id": (await request.app[CLIENT].create_thread()).id})


@routes.post("/threads/{thread_id}/ask")
async def ask(request: web.Request) -> web.Response:
    run = await request.app[CLIENT].run_and_wait(request.match_info["thread_id"], **await asked(request))
    return web.json_response({"answer": await request.app[CLIENT].run_text(run.raise_for_status())})


@routes.post("/threads/{thread_id}/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    async with request.app[CLIENT].stream_run(request.match_info["thread_id"], **await asked(request)) as run:
        await response.prepare(request)
        with suppress(errors.AsyncAssistError):  # the browser has been told, by an event
            async for event in run.sse():
                await response.write(event)
    return response


async def asked(request: web.Request) -> dict[str, Any]:
    message = {"role": "user", "content": (await request.json())["question"]}
    return {"assistant_id": request.app[ASSISTANT].id, "additional_messages": [message], "timeout": 60}


app = web.Application(middlewares=[tell_errors])
app.cleanup_ctx.append(lifespan)
app.add_routes(routes)

if __name__ == "__main__":
    from demo import demo_server

    with demo_server():  # handler_cancellation: a handler is cancelled when its browser goes away
        port = int(os.environ.get("PORT", "8080"))
        web.run_app(app, host="127.0.0.1", port=port, handler_cancellation=True, shutdown_timeout=2)
