package admin

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func clock(s *session.Session) *cobra.Command {
	var dry session.DryRun
	advance := &cobra.Command{
		Use:               "advance DURATION",
		Short:             "Move the cloud's clock forward",
		Long:              "Move the cloud's clock forward, to see what billing does. Works only where the server was started with a movable clock.",
		Example:           session.Lines("cpucloud admin clock advance 24h", "cpucloud admin clock advance 7d -o json", "cpucloud admin clock advance 30d --dry-run"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			by, err := duration(args[0])
			if err != nil {
				return err
			}
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			now, err := dry.Of(cloud).AdvanceClock(cmd.Context(), by)
			if err != nil {
				return err
			}
			dry.Note(s)
			var t session.Table
			t.Add(now.UTC().Format(time.RFC3339))
			return s.Print(struct {
				Now time.Time `json:"now"`
			}{now}, t)
		},
	}
	dry.Bind(advance)
	return session.Noun(&cobra.Command{Use: "clock", Short: "The clock of a cloud for tests"}, advance)
}

// duration reads what time.ParseDuration reads, and whole days.
func duration(text string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(text, "d")
	if isDays {
		text = days + "h"
	}
	by, err := time.ParseDuration(text)
	if isDays && by <= time.Duration(1<<63-1)/24 {
		by *= 24
	}
	if err != nil || by <= 0 {
		return 0, fault.Newf(fault.Invalid, "%q is no duration such as 90m, 24h or 7d", text)
	}
	return by, nil
}
