"""Keep passwords and tokens out of everything that is printed or written.

Secrets come in as URLs of the environment, and the errors of other libraries repeat such URLs or parts of them.
"""

import os
import re
from urllib.parse import unquote, urlsplit

#: Environment variables that hold a URL with a secret, and those that are a secret.
URLS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "OPTUNA_STORAGE")
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")

#: A shorter secret is removed with its URL only: elsewhere it could be a part of other words.
SHORTEST = 6

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,3}[^\s'\"]+")
_SETTING = re.compile(r"([?&;#][^=?&;#]*=)[^&;#]*")


def public_url(url: str) -> str:
    """Return a URL without user, password and the values of its query.

    Whatever stands before the last @ counts as user and password, also where a password has a character that it should
    not have. The path of a file has neither.
    """
    scheme, rest = _split(url.strip())
    before, _, after = ("", "", rest) if _is_file(scheme) else rest.rpartition("@")
    # An @ behind a query may belong to the password or to a value of the query: nothing of it is shown.
    return scheme + ("***" if _SETTING.search(before) else _SETTING.sub(r"\1***", after))


def _split(url: str) -> tuple[str, str]:
    """Return the scheme of a URL with its colon and slashes, and the rest. A password may hold `://` too."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/*", url)
    return (found[0], url[found.end() :]) if found else ("", url)


def _is_file(scheme: str) -> bool:
    return scheme.startswith(("sqlite", "file"))


def redacted(text: str, *urls: str) -> str:
    """Return a text without the secrets of the URLs in it, and without the secrets of this process's environment.

    urls: others whose secrets are not to be in it, in whatever form.
    """
    secrets = [os.environ.get(name, "") for name in SECRETS]
    for given in (*urls, *(os.environ.get(name, "") for name in URLS)):
        # First as a whole: a password with a space in it would end the URL too early below.
        if url := given.strip():
            text = text.replace(url, public_url(url)).replace(repr(url)[1:-1], public_url(url))
            secrets += _secrets_of(url)
    text = _URL.sub(lambda found: public_url(found[0]), text)
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, "***")
    return text


def _secrets_of(url: str) -> list[str]:
    """Return what `public_url` hides of a URL, as it is and decoded, unless the rest of the URL shows it anyway."""
    scheme, rest = _split(url)
    userinfo = "" if _is_file(scheme) else rest.rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    # Also the whole: in a token without a user a colon may be part of the token.
    hidden = [userinfo, password or user, *(setting[0].partition("=")[2] for setting in _SETTING.finditer(rest))]
    harmless = f"{public_url(url)} {user if password else ''}"
    return [form for secret in hidden for form in (secret, unquote(secret)) if form not in harmless]


def is_ambiguous(url: str) -> bool:
    """Whether a library may read a URL in another way than it was meant: its errors then show a part of the password.

    An HTTP library ends the host at the first / ? or #, a database library ends the password at the first @.
    """
    scheme, rest = _split(url.strip())
    if _is_file(scheme):
        return False
    host = re.split("[/?#]", rest)[0] if scheme.startswith("http") else rest.partition("?")[0]
    try:
        _ = urlsplit(url).port if scheme.startswith("http") else None
    except ValueError:
        return True
    return host.count("@") != rest.count("@") or host.count("@") > 1
