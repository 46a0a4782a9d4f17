package samgateway

import (
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

// IsTurnInDue says whether a gateway turns a batch in, which it saw empty and could
// not turn in at those times, zero being never.
func IsTurnInDue(batch purse.SAMData, emptied, failed, now time.Time, closingTime string) (bool, error) {
	at, err := parseClosingTime(closingTime)
	return isTurnInDue(batch, gatewayState{emptied: emptied, turnInFailed: failed}, now, at), err
}
