package wire

import (
	"net/http"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// statuses is the one table between faults and HTTP; no status stands twice,
// so that it can be read in both directions.
var statuses = map[fault.Kind]int{
	fault.Malformed:     http.StatusBadRequest,
	fault.Invalid:       http.StatusUnprocessableEntity,
	fault.Denied:        http.StatusUnauthorized,
	fault.NotFound:      http.StatusNotFound,
	fault.Conflict:      http.StatusConflict,
	fault.Unsatisfiable: http.StatusPreconditionFailed,
	fault.Unaffordable:  http.StatusPaymentRequired,
	fault.Exhausted:     http.StatusTooManyRequests,
	fault.Unavailable:   http.StatusServiceUnavailable,
	fault.Internal:      http.StatusInternalServerError,
}

func kindOf(status int) fault.Kind {
	for kind, s := range statuses {
		if s == status {
			return kind
		}
	}
	return fault.Unavailable
}
