"""An assistant on the web, with FastAPI: run this file and open http://127.0.0.1:8000.

It asks the server that ASYNCASSIST_BASE_URL names; without it, one beside it that needs no model.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from asyncassist import AsyncClient, RunStream, cancel_on_disconnect, errors

STATUSES: dict[object, int] = {errors.NotFoundError: 404, errors.ActiveRunError: 409, errors.WaitTimeoutError: 504}
Question = Annotated[str, Body(embed=True)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with AsyncClient() as app.state.client:
        app.state.assistant = await app.state.client.create_assistant(model="gpt-4o")
        yield
        await app.state.client.delete_assistant(app.state.assistant.id)


app = FastAPI(lifespan=lifespan)
app.get("/")(lambda: FileResponse(Path(__file__).with_name("page.html")))


class EventStream(StreamingResponse):
    """Sends the events of a run as they come. As soon as the browser goes away, the run is cancelled."""

    def __init__(self, run: RunStream) -> None:
        super().__init__(run.sse(), media_type="text/event-stream")
        self.run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(errors.DisconnectedError):
            async with cancel_on_disconnect(receive), self.run:
                await self.stream_response(send)


@app.exception_handler(errors.AsyncAssistError)
async def failed(request: Request, error: errors.AsyncAssistError) -> JSONResponse:
    return JSONResponse({"error": type(error).__name__}, STATUSES.get(type(error), 502))


@app.post("/threads")
async def start() -> dict[str, str]:
    return {"thread_id": (await app.state.client.create_thread()).id}


@app.post("/threads/{thread_id}/ask")
async def ask(thread_id: str, question: Question, request: Request) -> dict[str, str]:
    async with cancel_on_disconnect(request.receive):
        run = await app.state.client.run_and_wait(thread_id, **about(question))
        return {"answer": await app.state.client.run_text(run.raise_for_status())}


@app.post("/threads/{thread_id}/stream")
async def stream(thread_id: str, question: Question) -> EventStream:
    return EventStream(app.state.client.stream_run(thread_id, **about(question)))


def about(question: str) -> dict[str, Any]:
    message = {"role": "user", "content": question}
    return {"assistant_id": app.state.assistant.id, "additional_messages": [message], "timeout": 60}


if __name__ == "__main__":
    from demo import demo_server

    with demo_server():  # at shutdown, answers under way get two seconds; then they and their runs are cancelled
        uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=2)
