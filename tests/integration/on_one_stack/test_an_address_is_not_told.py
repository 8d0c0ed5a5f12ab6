"""The owner's address of a database stands on no command line and in no error, and says by itself how it is to be spoken to."""

import socket
import threading
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from deploy.errors import UNREACHABLE, Trouble
from deploy.local.stack import LocalStack
from deploy.services import for_dbmate, migrate


def test_a_migration_hides_the_address_from_who_looks_at_the_machine() -> None:
    """Against a server that never answers, so that the migration can be looked at while it runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        failed: list[Trouble] = []

        def migrating() -> None:
            try:
                migrate("intake", f"postgresql://owner:canary@127.0.0.1:{server.getsockname()[1]}/intake")
            except Trouble as trouble:
                failed.append(trouble)

        running = threading.Thread(target=migrating)
        running.start()
        server.settimeout(120)
        connection, _ = server.accept()  # by now it runs, and has read its address
        (child,) = [one for one in psutil.Process().children() if one.name() == "dbmate"]
        argv, environment = child.cmdline(), child.environ()
        connection.close()
        server.close()
        running.join(120)
    assert not any("canary" in word for word in argv) and "canary" in environment["DATABASE_URL"]
    (trouble,) = failed
    assert trouble.exit_code == UNREACHABLE and "canary" not in str(trouble) + trouble.way_out


@pytest.mark.parametrize("password", ["can%zzary", "ca nary"])
def test_an_address_dbmate_can_not_read_is_not_quoted(password: str) -> None:
    with pytest.raises(Trouble) as wrong:
        migrate("intake", f"postgresql://owner:{password}@127.0.0.1:9/intake")
    assert "LOTSE_DATABASE_OWNER" in wrong.value.way_out
    assert not any(part in wrong.value.what for part in ("zz", "nary", "127.0.0.1", "owner"))


def test_what_postgres_says_is_told(prepared: LocalStack) -> None:
    with pytest.raises(Trouble, match='password authentication failed for user "intake_owner"'):
        migrate("intake", prepared.databases["intake"].owner.replace("intake_owner:", "intake_owner:canary"))


def test_an_address_with_options_of_its_own_keeps_them(prepared: LocalStack) -> None:
    asked = urlsplit(for_dbmate("postgresql://o:p%2F@h:5432/d?sslmode=verify-full&sslrootcert=/a%20b/ca.pem"))
    assert (asked.netloc, asked.path) == ("o:p%2F@h:5432", "/d")
    assert parse_qs(asked.query) == {
        "sslmode": ["verify-full"],
        "sslrootcert": ["/a b/ca.pem"],
        "search_path": ["lotse"],
    }
    assert parse_qs(urlsplit(for_dbmate("postgresql://o:p@h/d")).query)["sslmode"] == ["disable"]
    owner = prepared.databases["intake"].owner
    assert migrate("intake", f"{owner}?connect_timeout=10") == "nothing to do"  # a second ? would name another database
    with pytest.raises(Trouble, match="SSL is not enabled on the server"):
        migrate("intake", f"{owner}?sslmode=require")
