// Package bill holds the commands about a customer's money: what is there, how
// long it lasts, and where it went.
package bill

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Command is the noun bill, which shows the whole by itself.
func Command(s *session.Session) *cobra.Command {
	cmd := session.Noun(&cobra.Command{
		Use:   "bill",
		Short: "What you have, what it costs, and how long it lasts",
		Long: "Show the balance, what your VMs cost, how long the funds last for them if nothing is paid in and\n" +
			"nothing changes, what you should know, and what this month's VMs cost. In USDC; times are UTC.",
		Example: session.Lines(
			"cpucloud bill",
			"cpucloud bill -o json | jq -r .fundsLastUntil",
			"cpucloud bill history --vm web",
			"cpucloud bill statement --month 2026-11 --format html > november.html",
		),
	}, history(s), spend(s), statement(s))
	help := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return help(cmd, args) // which says what was meant
		}
		return show(s, cmd)
	}
	return cmd
}

// whole is the account and what it spent this month.
type whole struct {
	client.Outlook
	Month client.Spend `json:"spentThisMonth"`
}

func show(s *session.Session, cmd *cobra.Command) error {
	cloud, err := s.Cloud()
	if err != nil {
		return err
	}
	a, err := cloud.Account(cmd.Context())
	if err != nil {
		return err
	}
	month, err := cloud.Spend(cmd.Context(), "vm", time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	return s.Print(whole{a, month}, table(a, month))
}

func table(a client.Outlook, month client.Spend) session.Table {
	var t session.Table
	t.Add("balance:", a.Balance)
	t.Add("reserved:", a.Reserved)
	t.Add("running cost:", fmt.Sprintf("%s per epoch, %s a day, %s in 30 days", a.RunningCost.PerEpoch, a.RunningCost.PerDay, a.RunningCost.Per30Days))
	t.Add("burn rate:", a.BurnRate+" a day until now")
	t.Add("funds last until:", moment(a.FundsLastUntil))
	if a.FundsLastUntil != nil {
		t.Add("power off at:", moment(a.PowerOffAt))
		t.Add("for 30 days more:", fmt.Sprintf("add %s, to last until %s", a.TopUp.Amount, when(a.TopUp.Until)))
	}
	if a.Next != nil {
		t.Add("next:", when(a.Next.At)+"  "+dueText(*a.Next))
	}
	label := "vms:"
	for _, v := range a.VMs {
		t.Add(label, fmt.Sprintf("%d %s, %s per epoch", v.Count, v.Status, v.PerEpoch))
		label = ""
	}
	for _, w := range a.Warnings {
		t.Add("warning:", w.Text)
	}
	label = "told:"
	for _, e := range a.Events {
		first, _, _ := strings.Cut(e.Text, ". ")
		t.Add(label, when(e.At)+"  "+strings.TrimSuffix(first, ".")+".")
		label = ""
	}
	t.Add("spent this month:", month.Total.Net)
	for _, r := range month.Rows[:min(len(month.Rows), mostVMs)] {
		t.Add("  "+r.VMName, fmt.Sprintf("%s  %s", r.Net, r.Key))
	}
	if len(month.Rows) > mostVMs {
		t.Add("  others", "`cpucloud bill spend --by vm` tells all")
	}
	return t
}

// mostVMs is how many VMs the whole tells one by one.
const mostVMs = 10

func dueText(d client.Due) string {
	switch d.What {
	case "powerOff":
		return fmt.Sprintf("%s is powered off unless %s more are there", d.VMName, d.Amount)
	case "purge":
		return fmt.Sprintf("the disk of %s is purged unless %s more are there", d.VMName, d.Amount)
	}
	return fmt.Sprintf("%s is charged for %s", d.Amount, d.VMName)
}

func moment(t *time.Time) string {
	if t == nil {
		return "no end is foreseen"
	}
	return when(*t)
}

func when(t time.Time) string { return t.UTC().Format(time.DateTime) }

// kinds are the kinds of entries.
var kinds = []string{"deposit", "withdrawal", "hold", "charge", "topup", "refund", "return"}

func text(s *string) string {
	if s == nil {
		return "-"
	}
	return cmp.Or(strings.TrimSpace(*s), "-")
}
