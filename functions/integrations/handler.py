"""What Lambda calls for the integrations worker."""

from jobline.worker import build

handler = build(__package__)
