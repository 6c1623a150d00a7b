"""Which services there are, in the order of a patient's way through them."""

SERVICES = ("intake", "scheduling", "care", "family", "notifications")
