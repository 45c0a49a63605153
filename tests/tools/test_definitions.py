"""What a model is told of a function: name, description, parameters."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import attrs
import msgspec
import pytest

from asyncassist import Tool, Toolset, UsageError, tool
from asyncassist.models import AssistantToolsFunction, FunctionObject

if TYPE_CHECKING:
    from decimal import Decimal


def test_the_whole_definition() -> None:
    """A function becomes a tool with its name, its docstring's text and its parameters as JSON Schema."""

    @tool
    def book_table(name: str, seats: int = 2, *, window: bool | None = None) -> str:
        """Book a table.

        Only for today.

        Args:
            name: whom to book for
            seats: how many
        """
        return f"{name} {seats} {window}"

    assert book_table.definition == AssistantToolsFunction(
        function=FunctionObject(
            name="book_table",
            description="Book a table.\n\nOnly for today.",
            parameters={
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "whom to book for"},
                    "seats": {"type": "integer", "description": "how many", "default": 2},
                    "window": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        )
    )


def test_a_function_without_anything() -> None:
    """No docstring and no parameters: an empty object, and no description."""

    @tool
    def ping() -> None: ...

    function = ping.definition.function
    assert {"type": "object", "properties": {}, "additionalProperties": False} == function.parameters
    assert function.description is None


GOOGLE = """Find places.

    Near you.

    Args:
        city (str): the city,
            as people say it
        unit: the unit

    Returns:
        places
    """
NUMPY = """Find places.

    Near you.

    Parameters
    ----------
    city : str
        the city,
        as people say it
    unit, more : {"km", "mi"}, optional
        the unit

    Returns
    -------
    list
    """
SPHINX = """Find places.

    Near you.

    :param city: the city,
        as people say it
    :param str unit: the unit
    :returns: places
    """


@pytest.mark.parametrize("doc", [GOOGLE, NUMPY, SPHINX], ids=["Google", "NumPy", "Sphinx"])
def test_docstrings(doc: str) -> None:
    """The text is the description; what is said of a parameter is the parameter's."""

    def find(city: str, unit: str) -> None: ...

    find.__doc__ = doc
    made = tool(find)

    assert made.description == "Find places.\n\nNear you."
    assert made.parameters["properties"] == {
        "city": {"type": "string", "description": "the city,\nas people say it"},
        "unit": {"type": "string", "description": "the unit"},
    }


def test_a_parameter_that_is_named_only() -> None:
    """It has no description."""

    def find(city: str, unit: str) -> None: ...

    find.__doc__ = "Find.\n\nParameters\n----------\ncity : str\nunit : str\n    the unit"

    properties = tool(find).parameters["properties"]
    assert {"city": STRING, "unit": {**STRING, "description": "the unit"}} == properties


STRING = {"type": "string"}


@pytest.mark.parametrize("doc", [":       :type x: int", ":param\n\n:x", "Args:", "a: b", "Find.\n\n:param city"])
def test_other_docstrings(doc: str) -> None:
    """What no style can read is the description as it is."""

    def find(city: str) -> None: ...

    find.__doc__ = doc

    assert doc == tool(find).description
    assert {"city": {"type": "string"}} == tool(find).parameters["properties"]


def test_a_docstring_without_a_text() -> None:
    """Sections alone describe the parameters only."""

    def find(city: str) -> None: ...

    find.__doc__ = "Parameters\n----------\ncity : str\n    the city"

    assert tool(find).description is None
    assert "the city" == tool(find).parameters["properties"]["city"]["description"]


def test_annotations_come_before_docstrings() -> None:
    """A text in the type hint is the parameter's description; the last one counts."""

    @tool
    def find(
        city: Annotated[str, "its name"],
        near: Annotated[str, msgspec.Meta(description="how near")] = "",
        far: Annotated[str, object(), "first", "second"] = "",
    ) -> None:
        """Find.

        Args:
            city: something else
        """

    properties = find.parameters["properties"]
    assert ["its name", "how near", "second"] == [properties[name]["description"] for name in ("city", "near", "far")]


def test_given_facts() -> None:
    """Name, description, strictness and timeout may be given; an empty description is one."""

    @tool(name="find-it", description="", strict=False, timeout=1.5)
    def find() -> None:
        """Find."""

    function = find.definition.function
    assert ("find-it", "", False) == (function.name, function.description, function.strict)
    assert find.timeout == 1.5
    assert tool(find, name="other").name == "other"


def test_a_tool_is_still_the_function() -> None:
    """It is called as before, and keeps name, docstring, module and attributes of the function."""

    def double(x: int) -> int:
        """Double it."""
        return 2 * x

    double.name = "own"  # type: ignore[attr-defined]
    made = tool(double)

    assert 6 == made(3) == made(x=3)
    assert ("double", "Double it.", __name__) == (made.__name__, made.__doc__, made.__module__)  # type: ignore[attr-defined]
    assert made.name == "double"
    assert "<Tool double>" == repr(made)


@pytest.mark.anyio
async def test_an_async_tool_is_still_the_function() -> None:
    """It gives an awaitable as before."""

    @tool
    async def double(x: int) -> int:
        return 2 * x

    assert 6 == await double(3)


class Shop:
    """Has a tool of its own."""

    def __init__(self, price: int) -> None:
        self.price = price

    @tool
    def cost(self, count: int) -> int:
        """Say what it costs."""
        return self.price * count

    @staticmethod
    @tool
    def names(count: int) -> list[str]:
        """List them."""
        return ["a"] * count

    @tool(name="hours")
    @staticmethod
    def opening(day: int) -> int:
        """Say when."""
        return day

    def plain(self, count: int) -> int:
        return self.price + count


def test_methods() -> None:
    """The tool of an instance has no ``self`` for the model, and is called with the instance."""
    shop = Shop(5)

    assert 15 == shop.cost(3) == Shop.cost(shop, 3)
    assert ["count"] == list(shop.cost.parameters["properties"]) == list(Shop.cost.parameters["properties"])
    assert "cost" == shop.cost.name
    tools = Toolset([shop.cost, shop.plain, shop.names, Shop.opening]).tools
    assert ["cost", "plain", "names", "hours"] == list(tools)
    assert 8 == tools["plain"](3)
    with pytest.raises(UsageError, match="tool cost is a method; give that of an instance"):
        Toolset([Shop.cost])


def test_what_is_filled_in_is_not_shown() -> None:
    """Arguments given by functools.partial are not the model's, and not sent."""

    def search(key: str, text: str, limit: int = 3) -> str:
        """Search."""
        return f"{key} {text} {limit}"

    made = tool(functools.partial(functools.partial(search, "secret"), limit=9), name="search")

    assert {"text": {"type": "string"}} == made.parameters["properties"]
    assert "secret" not in str(made.definition)
    assert made.description == "Search."
    assert "secret x 9" == made("x")  # type: ignore[call-arg]


def test_objects_and_wrapped_functions() -> None:
    """What can be called can be a tool, if it has a name; wrappers show what they wrap."""

    class Search:
        async def __call__(self, text: Place) -> None: ...

    @functools.wraps(method := Search().__call__)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    made = tool(Search(), name="search")
    assert made.is_async
    assert made.parameters == tool(wrapper, name="other").parameters == tool(method, name="third").parameters
    assert made.parameters["properties"]["text"]["type"] == "object"
    with pytest.raises(UsageError, match=r"got ''; give one: tool\(function, name=...\)"):
        tool(Search())


@attrs.define
class Place:
    """Where."""

    name: str


def test_positional_only() -> None:
    """Parameters that cannot be given by name are the model's too."""

    @tool
    def divide(a: int, b: int = 2, /, *, c: int = 0) -> float:
        return a / b + c

    assert ["a", "b", "c"] == list(divide.parameters["properties"])
    assert [([6, 2], {}), ([6, 3], {"c": 1})] == [divide.bind({"a": 6}), divide.bind({"a": 6, "b": 3, "c": 1})]


def later(when: Later, other: list[Later]) -> str:
    """Refer to a class further down."""
    return f"{when}{other}"


later_tool = tool(later)


class Later(msgspec.Struct):  # anything that cannot be an argument, to see that it was found
    """Defined after its use."""


def test_forward_references() -> None:
    """A class that is defined further down is found at the first use."""
    with pytest.raises(UsageError, match=r"tool later: parameter when: .*Later cannot be the type of an argument"):
        _ = later_tool.parameters


def test_names_that_are_not_there() -> None:
    """Names only type checkers import are named in the error, which comes with the first use, or with the toolset."""

    def pay(amount: Decimal) -> None: ...

    made = tool(pay)

    for use in (lambda: made.parameters, lambda: made.definition, lambda: made.bind({}), lambda: Toolset([pay])):
        with pytest.raises(
            UsageError, match=r"tool pay: a type hint names 'Decimal', which is not defined.*TYPE_CHECK"
        ):
            use()


def test_the_result_may_be_of_any_type() -> None:
    """The hint of the result is not looked at."""

    def pay(amount: int) -> Decimal: ...  # type: ignore[empty-body]

    assert ["amount"] == list(tool(pay).parameters["properties"])


def test_names_of_others() -> None:
    """What happens to be called the same where a toolset is made is not what a hint means."""
    Place = int
    made = Toolset([visit_place]).tools["visit_place"]

    assert Place is int
    assert "object" == made.parameters["properties"]["place"]["type"]


def visit_place(place: Place) -> None: ...


class Museum:
    """Names a class of its own."""

    class Hall(TypedDict):
        number: int

    @tool
    def enter(self, hall: Hall) -> int:
        return hall["number"]


def test_names_of_a_class_body() -> None:
    """A hint may name what stands in the body of the class."""
    assert "object" == Museum().enter.parameters["properties"]["hall"]["type"]


def test_local_classes() -> None:
    """Classes made inside of functions are found, and so are those their fields name."""

    @attrs.define
    class Street:
        name: str

    @attrs.define
    class House:
        street: Street
        next_to: list[House] = attrs.field(factory=list)

    def visit(house: House) -> str:
        return house.street.name

    @tool(strict=True)
    def leave(house: House) -> str:
        return house.street.name

    def inner() -> Tool[..., str]:
        class Body:
            @tool
            def enter(self, house: House) -> str:
                return house.street.name

        return Body().enter

    text = '{"house": {"street": {"name": "Elm"}, "next_to": []}}'
    for made in (tool(visit), leave, inner(), Toolset([visit]).tools["visit"]):
        positional, named = made.bind({"house": {"street": {"name": "Elm"}, "next_to": []}})
        assert "Elm" == made(*positional, **named), text


def ping() -> str:
    return "pong"


def test_a_toolset_shows_what_it_has() -> None:
    """Its tools by name, their definitions in order, and its repr."""
    toolset = Toolset([ping, tool(later_ok := lambda: 1, name="second")])

    assert ["ping", "second"] == list(toolset.tools) == [item.function.name for item in toolset.definitions]
    assert "<Toolset ping, second>" == repr(toolset)
    assert 1 == later_ok() == toolset.tools["second"]()
    with pytest.raises(TypeError):
        toolset.tools["third"] = tool(ping)  # type: ignore[index]
    assert () == Toolset([]).definitions
