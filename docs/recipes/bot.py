"""A bot with one conversation per chat: run this file and type ``anna: Hello``, where anna is the chat.

It asks the server that ASYNCASSIST_BASE_URL names; without it, one beside it that needs no model. What a bot of a chat
network does beyond this is to call `Bot.on_message` in its handler, and to keep `threads` in a database.
"""

import sys
from collections import OrderedDict
from collections.abc import AsyncIterable, MutableMapping
from weakref import WeakValueDictionary

import anyio

from asyncassist import AsyncAssistError, AsyncClient, Conversation, RunIncompleteError, WaitTimeoutError


class Bot:
    """Answers messages: those of one chat one after the other, many chats at once."""

    def __init__(
        self, client: AsyncClient, assistant_id: str, threads: MutableMapping[str, str], most_chats: int = 1000
    ) -> None:
        self.client, self.assistant_id, self.threads, self.most_chats = client, assistant_id, threads, most_chats
        self.recent: OrderedDict[str, Conversation] = OrderedDict()
        # A chat that is no longer recent has its conversation for as long as one of its messages is being answered.
        self.conversations: WeakValueDictionary[str, Conversation] = WeakValueDictionary()

    async def on_message(self, chat: str, text: str) -> str:
        conversation = self.conversation_of(chat)
        try:
            return (await conversation.ask(text, timeout=60)).render(citations="strip")
        except RunIncompleteError as error:
            return f"{await self.client.run_text(error.run)} ..."
        except WaitTimeoutError:
            return "That took too long. Ask me again?"
        except AsyncAssistError as error:
            print(f"{chat}: {error!r}", file=sys.stderr)
            return "I cannot answer that."
        finally:
            if conversation.thread_id is not None:
                self.threads[chat] = conversation.thread_id

    def conversation_of(self, chat: str) -> Conversation:
        conversation = self.conversations.get(chat)
        if conversation is None:
            conversation = self.client.conversation(self.threads.get(chat), assistant_id=self.assistant_id)
            self.conversations[chat] = conversation
        self.recent[chat] = conversation
        self.recent.move_to_end(chat)
        if len(self.recent) > self.most_chats:
            self.recent.popitem(last=False)
        return conversation


async def talk(lines: AsyncIterable[str]) -> None:
    """Answer lines of the form ``chat: text``."""
    async with AsyncClient() as client:
        assistant = await client.create_assistant(model="gpt-4o")
        bot = Bot(client, assistant.id, threads={})

        async def answer(chat: str, text: str) -> None:
            print(f"{chat}> {await bot.on_message(chat, text)}", flush=True)

        try:
            async with anyio.create_task_group() as group:
                async for line in lines:
                    chat, _, text = line.strip().partition(": ")
                    if text:
                        group.start_soon(answer, chat, text)
        finally:
            with anyio.move_on_after(5, shield=True):  # also when it is interrupted
                await client.delete_assistant(assistant.id)


if __name__ == "__main__":
    from demo import demo_server, talk_here

    with demo_server():
        talk_here(talk)
