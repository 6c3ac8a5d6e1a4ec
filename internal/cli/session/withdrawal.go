package session

import (
	"cmp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
)

// StatusFlag gives cmd a flag that says of which status withdrawals are listed.
func StatusFlag(cmd *cobra.Command, status *string) {
	statuses := []string{"requested", "confirmed", "rejected", "cancelled"}
	cmd.Flags().StringVar(status, "status", "", "only those that are "+strings.Join(statuses, ", "))
	CompleteFlag(cmd, "status", Words(statuses...))
}

// WithdrawalIDs returns the ids of withdrawals.
func WithdrawalIDs(list []client.Withdrawal) []string {
	ids := make([]string, len(list))
	for i, w := range list {
		ids[i] = w.ID
	}
	return ids
}

// PrintWithdrawals prints withdrawals, with their providers where there may be several.
func (s *Session) PrintWithdrawals(list []client.Withdrawal, providers bool) error {
	t := Table{Header: []string{"id", "amount", "status", "requested", "to", "note", "decided", "reference or reason"}}
	if providers {
		t.Header = append([]string{"provider"}, t.Header...)
	}
	for _, w := range list {
		decided := "-"
		if w.DecidedAt != nil {
			decided = w.DecidedAt.UTC().Format(time.DateTime)
		}
		row := []string{
			w.ID, w.Amount, w.Status, w.RequestedAt.UTC().Format(time.DateTime), w.To, cmp.Or(w.Note, "-"), decided, cmp.Or(w.Reference, w.Reason, "-"),
		}
		if providers {
			row = append([]string{w.Provider}, row...)
		}
		t.Add(row...)
	}
	return s.Print(list, t)
}

// PrintWithdrawal prints one withdrawal; that of a dry run has no id.
func (s *Session) PrintWithdrawal(w client.Withdrawal) error {
	var t Table
	if w.ID != "" {
		t.Add("id:", w.ID)
	}
	t.Add("provider:", w.Provider)
	t.Add("amount:", w.Amount+" USDC")
	t.Add("to:", w.To)
	for _, line := range [][2]string{{"note:", w.Note}, {"status:", w.Status}, {"reference:", w.Reference}, {"reason:", w.Reason}} {
		if line[1] != "" {
			t.Add(line[0], line[1])
		}
	}
	return s.Print(w, t)
}
