package vm

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func ssh(s *session.Session) *cobra.Command {
	var user, identity string
	timeout := defaultTimeout
	cmd := &cobra.Command{
		Use:   "ssh NAME|ID [-- COMMAND...]",
		Short: "Log in to a virtual machine, or run a command there",
		Long: "Log in to a virtual machine with ssh, or run a command there. The user is the one of the VM's\n" +
			"image. Waits for a VM that is still starting. The exit code is that of ssh.\n\n" +
			"The VM is known from the first login on by the host keys that it printed on its console at its first\n" +
			"boot, as cloud-init does: `cpucloud vm show` tells their fingerprints. Where the image prints none, ssh\n" +
			"asks, as it does for any host it has not seen. The keys are kept in a file of each VM in the data folder;\n" +
			"~/.ssh/known_hosts is left alone, and an address that another VM had before raises no alarm.\n\n" +
			"In rescue it is the rescue system that is logged in to, with the key that was made for it and with\n" +
			"host keys that are kept apart.",
		Example: session.Lines(
			"cpucloud vm ssh web",
			"cpucloud vm ssh web -- uname -a",
			"cpucloud vm ssh web --user root --identity ~/.ssh/work",
			"tar c site | cpucloud vm ssh web -- tar x -C /srv",
		),
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			w := waiter{s, cloud, timeout}
			v, err := reachable(cmd.Context(), w, args[0])
			if err != nil {
				return err
			}
			if user == "" {
				if user, err = userOf(cmd.Context(), cloud, v); err != nil {
					return err
				}
			}
			known, err := knownHostsOf(cmd.Context(), w, v)
			if err != nil {
				return err
			}
			if !known.sure {
				s.Notef("The host keys of VM %s are not known: it has printed none on its console. ssh asks whether to go on.", v.Name)
			}
			if identity == "" && v.Rescue != nil {
				if identity, err = keyOfRescue(s, v); err != nil {
					return err
				}
			}
			line, err := sshArgs(v, user, identity, known)
			if err != nil {
				return err
			}
			return runSSH(cmd.Context(), s, append(line, args[1:]...))
		},
	}
	cmd.Flags().StringVarP(&user, "user", "l", "", "who to log in as (default the user of the VM's image)")
	cmd.Flags().StringVarP(&identity, "identity", "i", "", "file of the private key (default as ssh finds it)")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait for a VM that is still starting")
	session.CompleteFlag(cmd, "user", cobra.NoFileCompletions)
	return cmd
}

// reachable returns the VM once it has an address.
func reachable(ctx context.Context, w waiter, word string) (client.VM, error) {
	v, err := Find(ctx, w.cloud, word)
	if err != nil {
		return v, err
	}
	if v.Status == client.StatusNew || v.Status == client.StatusLaunching {
		v, err = w.until(ctx, v, client.StatusActive)
		if err != nil {
			return v, err
		}
	}
	if v.Address() == "" {
		return v, failed("VM %s has no address: it is %s%s", v.Name, v.Status, because(v))
	}
	if !slices.Contains(v.Ports, sshPort) {
		return v, fault.Newf(fault.Conflict, "22/tcp of VM %s is closed: open it with `cpucloud vm update %s --add-port 22`",
			session.Clean(v.Name), session.Clean(v.ID))
	}
	return v, nil
}

// userOf returns the user of the VM's image, root for an image of the
// customer's own.
func userOf(ctx context.Context, cloud *client.Client, v client.VM) (string, error) {
	images, err := cloud.DefaultImages(ctx)
	image := v.OSImage
	if v.Rescue != nil {
		image = v.Rescue.Image
	}
	for _, i := range images {
		if i.DownloadURL == image && i.Username != "" {
			return i.Username, nil
		}
	}
	return "root", err
}

var userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// sshArgs builds ssh's arguments. Address, id and user come from outside: they
// must not be taken for options.
func sshArgs(v client.VM, user, identity string, known knownHosts) ([]string, error) {
	address, err := netip.ParseAddr(v.Address())
	if err != nil {
		return nil, fault.Newf(fault.Internal, "the cloud gave an address that is none: %q", v.Address())
	}
	if !wholeID.MatchString(v.ID) {
		return nil, fault.Newf(fault.Internal, "the cloud gave an id that is none: %q", v.ID)
	}
	if !userName.MatchString(user) {
		return nil, fault.Newf(fault.Invalid, "%q is no user name", user)
	}
	strict := "ask"
	if known.sure {
		strict = "yes"
	}
	args := []string{
		"-o", "StrictHostKeyChecking=" + strict,
		"-o", "UserKnownHostsFile=" + quote(known.path),
		"-o", "UpdateHostKeys=no", // what the cloud tells is all that is believed
		"-o", "HostKeyAlias=" + known.name,
		"-o", "CheckHostIP=no",
	}
	if identity != "" {
		args = append(args, "-i", identity, "-o", "IdentitiesOnly=yes")
	}
	return append(args, "-l", user, "--", address.String()), nil
}

// quote writes a path as ssh reads it in an option: percent signs and spaces
// mean something there.
func quote(path string) string {
	return `"` + strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

func runSSH(ctx context.Context, s *session.Session, args []string) error {
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code := exit.ExitCode()
		if code < 0 { // ended by a signal
			code = 255
		}
		return &session.ExitError{Code: code}
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fault.New(fault.Conflict, "the program ssh is not installed")
	}
	return err
}
