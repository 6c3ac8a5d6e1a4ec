package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// exitCodes is a help topic: a command that can't be run.
func exitCodes() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of cpucloud:

    0  done
    1  an error that none of the others describes
    2  the arguments are wrong; nothing was asked of the cloud
    3  the VM failed, ended, or did not get there in time
    4  there is no such VM, key or account
    5  the API key is missing, unknown, or may not do this
    6  the cloud refused: no offer fits, the balance is too small, a value is not acceptable
    7  the cloud is out of reach or not available now
  130  interrupted by Ctrl-C or SIGTERM

"cpucloud vm ssh" ends with the exit code of ssh: that of the remote command, or 255.`,
	}
}

// environment is a help topic: a command that can't be run.
func environment() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "The variables that cpucloud reads",
		Long: `Variables that cpucloud reads:

  CPUCLOUD_URL        the cloud's address, unless --url is given
  CPUCLOUD_API_KEY    the API key of a customer or provider; there is no flag for it, since other
                      users of the machine can read a command's arguments
  CPUCLOUD_ADMIN_KEY  the API key of an operator, for "cpucloud admin"
  CPUCLOUD_PROVIDER   the provider that "cpucloud provider" is about, unless --provider is given
  CPUCLOUD_DATA       the data folder of a local cloud; else $XDG_STATE_HOME/cpucloud,
                      else ~/.local/state/cpucloud

Without a key in the environment, cpucloud reads demo.env in the data folder, and admin.env
for "cpucloud admin". With --data DIR it reads DIR/demo.env and DIR/admin.env in any case.`,
	}
}

// version tells which build this is.
func version(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this program",
		Example: session.Lines("cpucloud version", "cpucloud version -o json"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Revision string `json:"revision"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Version = info.Main.Version
				for _, setting := range info.Settings {
					if setting.Key == "vcs.revision" {
						v.Revision = setting.Value
					}
				}
			}
			var t session.Table
			t.Add("cpucloud", v.Version)
			t.Add("revision", v.Revision)
			t.Add("go", v.Go)
			t.Add("platform", v.Platform)
			return s.Print(v, t)
		},
	}
}
