"""A Postbell plugin in Python, by wasmtime-py: the very component that the Rust host runs, and nothing of that host.

Values are those of the contract (wit/notify.wit) as in Postbell's JSON: a record is a dict, a list a list, a list of u8 is
bytes, a tuple a tuple, a variant {"case": payload}, or "case" where it has none, an option None or the value, a result
{"ok": value} or {"err": value}. What a host does beside calling a plugin (a journal, the order in which reactions leave,
timers, limits) is said in wit/README.md.
"""

from wasmtime import Config, Engine, Store
from wasmtime.component import (
    Component,
    EnumType,
    Linker,
    ListType,
    OptionType,
    Record,
    RecordType,
    ResultType,
    TupleType,
    U8,
    Variant,
    VariantType,
)

PACKAGE, VERSION = "postbell:notify", "0.1.0"


class Plugin:
    """One instance of a plugin."""

    def __init__(self, component: bytes, field=lambda name: name, case=lambda name: name):
        """`field` and `case`: how the contract's names of fields and cases are written in values."""
        config = Config()
        config.wasm_relaxed_simd = False
        engine = Engine(config)
        self._store = Store(engine)
        # A linker that has nothing: a component with an import is refused here.
        self._instance = Linker(engine).instantiate(self._store, Component(engine, component))
        self._field, self._case = field, case

    @classmethod
    def load(cls, path: str) -> "Plugin":
        """The plugin in a file."""
        with open(path, "rb") as file:
            return cls(file.read())

    def call(self, function: str, *arguments):
        """Calls a function of the contract, such as `lifecycle.open`. After a trap the instance is of no more use."""
        interface, name = function.split(".")
        index = self._instance.get_export_index(self._store, f"{PACKAGE}/{interface}@{VERSION}")
        index = index and self._instance.get_export_index(self._store, name, index)
        found = index and self._instance.get_func(self._store, index)
        if found is None:
            raise ValueError(f"the component does not export {function}")
        signature = found.type(self._store)
        if len(arguments) != len(signature.params):
            raise TypeError(f"{function} takes {len(signature.params)} arguments, not {len(arguments)}")
        lowered = [self._lower(kind, value) for (_, kind), value in zip(signature.params, arguments)]
        result = found(self._store, *lowered)
        lifted = None if signature.result is None else self._lift(signature.result, result)
        found.post_return(self._store)
        return lifted

    def _lower(self, kind, value):
        if isinstance(kind, RecordType):
            record = Record()
            for name, field in kind.fields:
                setattr(record, name, self._lower(field, value[self._field(name)]))
            return record
        if isinstance(kind, ListType):
            element = kind.element
            return bytes(value) if isinstance(element, U8) else [self._lower(element, each) for each in value]
        if isinstance(kind, TupleType):
            return tuple(self._lower(element, each) for element, each in zip(kind.elements, value, strict=True))
        if isinstance(kind, OptionType):
            return None if value is None else self._lower(kind.payload, value)
        if isinstance(kind, EnumType):
            return next(name for name in kind.names if self._case(name) == value)
        if isinstance(kind, (VariantType, ResultType)):
            written, payload = next(iter(value.items())) if isinstance(value, dict) else (value, None)
            name, inner = next((name, inner) for name, inner in kind._cases() if self._case(name) == written)
            payload = None if inner is None else self._lower(inner, payload)
            # wasmtime-py wants the case named only where the type of the payload does not tell it.
            return Variant(name, payload) if kind._tagged() else payload
        return value

    def _lift(self, kind, value):
        if isinstance(kind, RecordType):
            return {self._field(name): self._lift(field, getattr(value, name)) for name, field in kind.fields}
        if isinstance(kind, ListType):
            return value if isinstance(value, bytes) else [self._lift(kind.element, each) for each in value]
        if isinstance(kind, TupleType):
            return tuple(self._lift(element, each) for element, each in zip(kind.elements, value, strict=True))
        if isinstance(kind, OptionType):
            return None if value is None else self._lift(kind.payload, value)
        if isinstance(kind, EnumType):
            return self._case(value)
        if isinstance(kind, (VariantType, ResultType)):
            name, payload = (value.tag, value.payload) if kind._tagged() else _told_by_payload(kind, value)
            inner = dict(kind._cases())[name]
            if inner is None and isinstance(kind, VariantType):
                return self._case(name)
            return {self._case(name): None if inner is None else self._lift(inner, payload)}
        return value


def _told_by_payload(kind, value):
    """The case of a variant of which wasmtime-py gives the payload alone."""
    for name, inner in kind._cases():
        classes = set()
        if inner is not None:
            inner.add_classes(classes)
        if (inner is None and value is None) or (value is not None and isinstance(value, tuple(classes))):
            return name, value
    raise ValueError(f"{value!r} is of no case")
