"""TLS towards the broker, and what its refusals mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeglm_agent.uplink.budget import wire_bytes

if TYPE_CHECKING:
    import ssl

    from edgeglm_agent.settings.types import Tls


def tls_context(tls: Tls) -> Any:
    """Return the ``ssl.SSLContext`` of one connection; certificates are read anew each time, as they are renewed.

    Raises:
        OSError: A file is missing, unreadable, or no certificate or key; or they do not belong together.
    """
    import ssl

    class Named(ssl.SSLContext):
        """Expects the broker's certificate to bear the name in the settings, not the host's."""

        _last: ssl.SSLSocket | None = None

        def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
            if tls.server_name:
                options["server_hostname"] = tls.server_name
            self._last = super().wrap_socket(*arguments, **options)
            return self._last

        def end_last(self) -> int:
            """Close what a failed handshake has left open; return the bytes that it took."""
            if self._last is None:
                return 0
            taken = wire_bytes(self._last)
            self._last.close()
            return taken

    context = Named(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if tls.ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca)
    except OSError as error:
        raise OSError(f"mqtt.tls.ca: {tls.ca}: {error}") from error
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as error:
            raise OSError(f"mqtt.tls.certificate: {tls.certificate} with {tls.key}: {error}") from error
    return context


def explain(error: BaseException | str, *, clock_synchronised: bool) -> str:
    """Return what went wrong with a connection, and how to mend it."""
    text = str(error) or type(error).__name__
    for sign, hint in _HINTS:
        if sign in text.lower():
            if "not yet valid" in hint and not clock_synchronised:
                return f"{text}: this board's clock is not set yet"
            return f"{text}: {hint}"
    return text


_HINTS = (
    ("certificate is not yet valid", "the broker's certificate is not yet valid: is the clock right?"),
    ("certificate has expired", "the broker's certificate has expired, or the clock is wrong"),
    ("unable to get local issuer certificate", "mqtt.tls.ca does not hold the authority that signed the broker's"),
    ("self-signed certificate", "mqtt.tls.ca does not hold the authority that signed the broker's certificate"),
    ("hostname mismatch", "the broker's certificate has another name; mqtt.tls.server_name says which to expect"),
    ("ip address mismatch", "the broker's certificate has another name; mqtt.tls.server_name says which to expect"),
    ("alert certificate expired", "the broker says that this board's certificate has expired"),
    ("alert unknown ca", "the broker does not know who signed this board's certificate"),
    ("alert bad certificate", "the broker refuses this board's certificate"),
    ("alert certificate required", "the broker asks for a certificate: set mqtt.tls.certificate and mqtt.tls.key"),
    ("wrong version number", "the broker does not speak TLS on this port"),
    ("eof occurred", "the broker ended it without a word: has this board's certificate expired?"),
    ("connection reset", "the broker ended it without a word: does it speak TLS on this port, or another than asked?"),
    ("name or service not known", "the broker's name is not known here: is the network up, is mqtt.host right?"),
    ("connection refused", "nothing listens there: does the broker run, is mqtt.port right?"),
)
