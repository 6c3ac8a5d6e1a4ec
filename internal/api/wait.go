package api

import (
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// wait is something that a VM waits for.
type wait struct {
	For   string     `json:"for" enum:"launch,start,repair,server,operation,money,payment,confirm,drain,undelete,nothing" doc:"launch and start: to be Active, for the first time or again; repair: for what its server could not do yet; server: for its server to be heard; operation: for what was asked for; money: for its reserve to be filled; payment: to be paid, powered off; confirm: for its ports to be confirmed; drain: for you to leave its server; undelete: to be undeleted; nothing: it has ended."`
	Why   string     `json:"why" doc:"In a sentence."`
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until" nullable:"true" doc:"When somebody acts; null for a VM that has ended."`
	Next  string     `json:"next" doc:"What is tried until then, and done then."`
}

func waitOf(w vm.Wait) wait {
	return wait{For: string(w.For), Why: w.Why, Since: w.Since.UTC(), Until: moment(w.Until), Next: w.Next}
}
