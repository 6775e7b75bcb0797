"""`python -m framework.api.security`: makes an entry of the accounts file, so that no secret has to be hashed by hand."""

import click

from framework.api.security.accounts import hashed_password, hashed_token


@click.command()
@click.argument("name")
@click.option("--token", "as_token", is_flag=True, help="a bearer token instead of a password")
@click.option("--allow", multiple=True, default=("all /",), metavar="'VERB PATH'", show_default=True)
@click.password_option("--secret", prompt="Secret", help="asked for if it is not given")
def main(name: str, as_token: bool, allow: tuple[str, ...], secret: str) -> None:
    """Prints the entry of NAME for the accounts file."""
    hashed = f'token = "{hashed_token(secret)}"' if as_token else f'password = "{hashed_password(secret)}"'
    permissions = ", ".join(f'"{permission}"' for permission in allow)
    click.echo(f"[{name}]\n{hashed}\nallow = [{permissions}]")


main()
