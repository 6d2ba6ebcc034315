"""How the words of a command line are read, beyond what Typer checks: what it would take silently is refused here."""

from __future__ import annotations

from typing import Any, NoReturn

from typer.core import TyperCommand

from benchmark.common.errors import UserError, nearest


class Command(TyperCommand):
    """A command that refuses an option given twice, another option in the place of a value, and words left over."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check the words, then read them as Typer does.

        Raises:
            UserError: an unknown option, an option without a value, one given twice that takes one value, or a word
                that belongs to no option.
        """
        if not ctx.resilient_parsing:  # completion reads unfinished words
            self._check(ctx, list(args))
        return super().parse_args(ctx, args)

    def _check(self, ctx: Any, args: list[str]) -> None:
        params = self.get_params(ctx)
        names = {name for param in params for name in (*param.opts, *param.secondary_opts) if name.startswith("-")}
        try:
            values, rest, order = self.make_parser(ctx).parse_args(args=args)
        except Exception as error:
            _reword(error, names)
        for param in params:
            if param.param_type_name != "option" or getattr(param, "is_flag", False):
                continue
            option, given = max(param.opts, key=len), values.get(param.name)
            for value in given if isinstance(given, list) else [given]:
                if isinstance(value, str) and value in names:
                    raise UserError(f"{option}: a value is missing before {value}")
            if order.count(param) > 1 and not param.multiple:
                raise UserError(f"{option}: given more than once, but it takes one value; keep one of them")
        if rest and not ctx.allow_extra_args:
            raise UserError(
                f"unexpected {rest[0]!r}: write a value after its option, and several with commas and no spaces, such "
                "as --methods lora,freeze"
                if "--methods" in names
                else f"unexpected {rest[0]!r}: leave it out, or write it after its option (see --help)"
            )


def _reword(error: Exception, names: set[str]) -> NoReturn:
    """Raise the parser's error again, in our words if it is about an option's name or value."""
    option = getattr(error, "option_name", "")
    if type(error).__name__ == "NoSuchOption":
        close = nearest(option, names) if option.startswith("--") else "see --help"
        raise UserError(f"unknown option {option}: {close}") from None
    if "requires an argument" in str(getattr(error, "message", "")):
        raise UserError(f"{option}: a value is missing") from None
    raise error
