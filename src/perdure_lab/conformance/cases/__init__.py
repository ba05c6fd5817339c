"""All cases, in the order in which they are played: the plain ones first."""

from perdure_lab.conformance.case import Case
from perdure_lab.conformance.cases.breaches import BREACHES
from perdure_lab.conformance.cases.carriers import CARRIERS
from perdure_lab.conformance.cases.greetings import GREETINGS
from perdure_lab.conformance.cases.in_band import IN_BAND
from perdure_lab.conformance.cases.negotiation import NEGOTIATION
from perdure_lab.conformance.cases.signaling import SIGNALING
from perdure_lab.conformance.cases.streams import STREAMS

ALL: tuple[Case, ...] = (
    *STREAMS.all,
    *GREETINGS.all,
    *CARRIERS.all,
    *SIGNALING.all,
    *NEGOTIATION.all,
    *IN_BAND.all,
    *BREACHES.all,
)
