"""The mail server: does it answer, and does it know us? No mail is sent."""

from collections.abc import AsyncIterator

import aiosmtplib

from deploy.doctor.place import Place
from deploy.doctor.said import Said, found, good, not_checked

PATIENCE = 5.0  # seconds


async def mail(place: Place) -> AsyncIterator[Said]:
    """A greeting, and the login where one is set."""
    server = place.mail
    if server is None:
        if place.up and (not place.services or "notification" in place.services):
            yield not_checked("mail", "LOTSE_SMTP_HOST is not set")
        return
    where = f"{server.host}:{server.port}"
    client = aiosmtplib.SMTP(hostname=server.host, port=server.port, timeout=PATIENCE, use_tls=server.tls)
    try:
        await client.connect()
        if server.user and server.password:
            await client.ehlo()
            if not client.supports_extension("auth"):
                yield found("mail", f"the mail server at {where} takes no login", "no notice is sent",
                            "unset LOTSE_SMTP_USER LOTSE_SMTP_PASSWORD   # or set the port on which it takes one")  # fmt: skip
                return
            await client.login(server.user, server.password)
    except aiosmtplib.SMTPAuthenticationError as error:
        yield found("mail", f"the mail server at {where} refuses our login ({error.code})", "no notice is sent",
                    "export LOTSE_SMTP_USER=... LOTSE_SMTP_PASSWORD=...")  # fmt: skip
        return
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        mend = f"tail {place.folder}/mail/mail.log   # then `lotse up` again" if place.local else (
            f"nc -vz {server.host} {server.port}   # then start it, open the way, or set LOTSE_SMTP_HOST, LOTSE_SMTP_PORT")  # fmt: skip
        yield found("mail", f"the mail server at {where} does not answer as one", f"{type(error).__name__}; every notice ends"
                    " as failed (UNREACHABLE)", mend, unreachable=True)  # fmt: skip
        return
    finally:
        client.close()
    yield good("mail", f"the mail server at {where} answers")
