package key

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func add(s *session.Session) *cobra.Command {
	name := ""
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:   "add [FILE|LINE]",
		Short: "Register an SSH public key",
		Long: "Register an SSH public key: a file, or the line itself. Without one, the first of\n" +
			"~/.ssh/id_ed25519.pub, id_ecdsa.pub and id_rsa.pub is taken. Private keys are never sent.",
		Example: session.Lines(
			"cpucloud key add --name laptop",
			"cpucloud key add ~/.ssh/work.pub --name work",
			"cpucloud key add \"$(ssh-add -L | head -n 1)\"",
			"cpucloud key add ~/.ssh/work.pub --dry-run",
		),
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			line, err := publicKey(s, args)
			if err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			k, err := dry.Of(cloud).AddSSHKey(cmd.Context(), name, line)
			if err != nil {
				return err
			}
			dry.Note(s)
			return s.Print(identified(k)[0], table(k))
		},
	}
	dry.Bind(cmd)
	cmd.Flags().StringVar(&name, "name", "", "what to call the key")
	return cmd
}

func publicKey(s *session.Session, args []string) (string, error) {
	if len(args) == 0 {
		lines, err := Defaults(s)
		if err != nil {
			return "", err
		}
		return lines[0], nil
	}
	line, isKey, err := Read(s, args[0])
	if err == nil && !isKey {
		return "", fault.Newf(fault.NotFound, "%s is neither a file nor a public key", args[0])
	}
	return line, err
}
