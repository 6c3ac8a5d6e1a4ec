package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// leaveKey is Ctrl-], with which telnet and virsh are left, too.
const leaveKey = 0x1d

func console(s *session.Session) *cobra.Command {
	var o client.ConsoleOptions
	log, raw := false, false
	cmd := &cobra.Command{
		Use:   "console NAME|ID",
		Short: "Sit before a virtual machine's serial console",
		Long: "Sit before the serial console of a virtual machine, as if at a screen and keyboard that are\n" +
			"plugged into it. It needs no network in the machine, and shows how it boots. Ctrl-] leaves.\n" +
			"Nothing is seen until the machine writes something: press Enter, and it may ask for a login.\n\n" +
			"Several may watch; the first one types. What the machine writes goes to your terminal as it is.",
		Example: session.Lines(
			"cpucloud vm console web",
			"cpucloud vm console web --take",
			"cpucloud vm console web --log | tail",
		),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if raw && !log {
				return fault.New(fault.Malformed, "--raw is for --log: what is shown otherwise is raw anyhow")
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			if log {
				return printLog(cmd.Context(), s, cloud, v, raw)
			}
			return sit(cmd.Context(), s, cloud, v, o)
		},
	}
	cmd.Flags().BoolVar(&o.Take, "take", false, "type in the place of who does, who watches from then on")
	cmd.Flags().BoolVar(&o.ReadOnly, "read-only", false, "only watch")
	cmd.Flags().BoolVar(&log, "log", false, "print the end of what the machine wrote, at most 256 KiB, and leave")
	cmd.Flags().BoolVar(&raw, "raw", false, "with --log, also what a terminal would obey")
	cmd.MarkFlagsMutuallyExclusive("take", "read-only", "log")
	return cmd
}

func printLog(ctx context.Context, s *session.Session, cloud *client.Client, v client.VM, raw bool) error {
	text, err := cloud.ConsoleLog(ctx, v.ID)
	if err != nil {
		return err
	}
	if !raw {
		text = []byte(session.CleanConsole(text))
	}
	_, err = s.Out.Write(text)
	return err
}

// sit shows the console until who sits there leaves, or it is closed.
func sit(ctx context.Context, s *session.Session, cloud *client.Client, v client.VM, o client.ConsoleOptions) (err error) {
	seat, err := cloud.OpenConsole(ctx, v.ID, o)
	if err != nil {
		return err
	}
	defer seat.Close() //nolint:errcheck // nobody is there to hear of it
	s.Notef("Console of %s. If you see nothing, press Enter. To leave, press Ctrl-].", v.Name)
	restore, err := makeRaw(s)
	if err != nil {
		return err
	}
	defer restore()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	left := make(chan error, 1)
	go func() {
		left <- typeAll(ctx, s.In, seat)
		stop()
	}()
	err = showAll(ctx, s, seat)
	select {
	case typed := <-left: // that is why it ended
		return typed
	default:
		return err
	}
}

// makeRaw has a terminal hand over every key as it is pressed. restore undoes that,
// and what the machine may have told the terminal.
func makeRaw(s *session.Session) (restore func(), err error) {
	f, isFile := s.In.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return func() {}, nil
	}
	before, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	return func() {
		// Colours off, cursor on; no bracketed paste, no reports of the mouse.
		fmt.Fprint(s.Out, "\x1b[0m\x1b[?25h\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l")
		_ = term.Restore(int(f.Fd()), before) // what else could be done
		fmt.Fprintln(s.Err)
	}, nil
}

// typeAll sends what is typed until the key that leaves, or the end of the input.
func typeAll(ctx context.Context, from io.Reader, seat *client.Console) error {
	text := make([]byte, 4<<10)
	for {
		n, err := from.Read(text)
		typed, _, leaves := bytes.Cut(text[:n], []byte{leaveKey})
		if sent := seat.Write(ctx, typed); sent != nil && ctx.Err() == nil {
			return sent
		}
		if left := leaves || ctx.Err() != nil; left || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what is typed: %w", err)
		}
	}
}

// showAll shows what the machine writes until the console is closed.
func showAll(ctx context.Context, s *session.Session, seat *client.Console) error {
	for {
		text, note, err := seat.Read(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case note == nil:
			if _, err := s.Out.Write(text); err != nil {
				return err
			}
			continue
		case note.End && note.Failed:
			return fault.New(fault.Conflict, note.Text)
		}
		if note.Text != "" {
			fmt.Fprintf(s.Err, "\r\n[%s]\r\n", session.Clean(note.Text))
		}
		if note.End {
			return nil
		}
	}
}
