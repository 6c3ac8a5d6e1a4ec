package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// dryRun is the parameter of every operation that changes something, and
// dryRunHeader is in every answer to a request that had it.
const (
	dryRun       = "dryRun"
	dryRunHeader = "Cpucloud-Dry-Run"
)

var dryRunParameter = &huma.Param{
	Name: dryRun, In: "query", Schema: &huma.Schema{Type: huma.TypeBoolean}, Example: true,
	Description: "With true, everything is checked and worked out as ever, and nothing changes: the answer says what would have been, without secrets and " +
		"ids of what would be new, and carries the header `" + dryRunHeader + ": true`. No Idempotency-Key or requestId is used up.",
}

const dryRunReference = "#/components/parameters/" + dryRun

// changes reports whether the operation changes anything. Those that do can all
// be rehearsed.
func (op operation) changes() bool { return op.method != http.MethodGet && !op.reads }

// wantsDry reports whether nothing is to change.
func (c *call) wantsDry() (bool, error) { return c.flag(dryRun) }
