package vm

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func reinstall(s *session.Session) *cobra.Command {
	var image, checksum, userData string
	var keys []string
	var r client.Reinstall
	return act{
		verb: "reinstall", short: "Give a virtual machine a new disk",
		long: "Give a virtual machine a new disk; it keeps its id, address, ports and price. The image is fetched\n" +
			"first: when it can't be had, nothing changes. The disk that it had is kept for a time, at the price of\n" +
			"its storage: `cpucloud vm disks` tells until when, `cpucloud vm return-disk` brings it back. Without\n" +
			"flags it is made of the same image as the last one. Asks first, unless --yes is given.",
		examples: []string{
			"cpucloud vm reinstall web",
			"cpucloud vm reinstall web --image debian-13-x64 --ssh-key ~/.ssh/work.pub --yes --wait",
			"cpucloud vm reinstall web --user-data setup.sh",
		},
		ask: func(v client.VM) string {
			return fmt.Sprintf("Reinstall VM %s (%s)? Its disk is kept for a time; whoever uses it now is cut off.", v.Name, v.ID)
		},
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&image, "image", "", "slug or URL of another image (default the one that it has)")
			f.StringVar(&checksum, "image-checksum", "", "what the image has to have: sha256: and 64 hex digits")
			f.StringArrayVar(&keys, "ssh-key", nil, "file, line or name of a public key; may be repeated (default those that it has)")
			f.StringVar(&userData, "user-data", "", "file of what it does at its first boot; - is standard input (default what it was given before)")
		},
		prepare: func(ctx context.Context, cloud *client.Client, _ []string) (err error) {
			r, err = renewal(ctx, s, cloud, image, checksum, userData, keys)
			return err
		},
		do: func(c *client.Client, ctx context.Context, id, requestID string) (client.Operation, error) {
			return c.ReinstallVM(ctx, id, r, requestID)
		},
	}.command(s)
}

// renewal turns flags into a request.
func renewal(ctx context.Context, s *session.Session, cloud *client.Client, image, checksum, userData string, keys []string) (r client.Reinstall, err error) {
	if checksum != "" && !checksumPattern.MatchString(checksum) {
		return r, badChecksum(checksum)
	}
	if image != "" {
		if image, err = imageURL(ctx, cloud, image); err != nil {
			return r, err
		}
		r.Image = &image
	}
	if checksum != "" {
		r.ImageChecksum = &checksum
	}
	if len(keys) > 0 {
		if r.SSHKeys, err = sshKeys(s, keys); err != nil {
			return r, err
		}
	}
	if userData != "" {
		if userData, err = readUserData(s, userData); err != nil {
			return r, err
		}
		r.UserData = &userData
	}
	return r, nil
}

func disks(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "disks NAME|ID",
		Short: "List the disks of a virtual machine: the one that it has, and those that are kept",
		Long: "List the disks of a virtual machine: the one that it has, and those that it had and that are kept.\n" +
			"What is kept holds storage, and is purged at the time that is told.",
		Example:           session.Lines("cpucloud vm disks web", "cpucloud vm disks web -o json"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			list, err := cloud.Disks(cmd.Context(), v.ID)
			if err != nil {
				return err
			}
			t := session.Table{Header: []string{"disk", "size", "image", "kept until"}}
			for _, d := range list {
				t.Add(strconv.FormatInt(d.Number, 10), fmt.Sprintf("%d GiB", d.SizeGiB), imageWord(d), fateOf(d))
			}
			return s.Print(list, t)
		},
	}
}

func imageWord(d client.Disk) string {
	if d.Image == nil {
		return "-"
	}
	return *d.Image
}

// fateOf tells what becomes of a disk.
func fateOf(d client.Disk) string {
	switch {
	case d.Current:
		return "the VM has it"
	case d.Purging:
		return "is being purged"
	case d.KeptUntil == nil:
		return "the VM may still run on it"
	}
	return when(*d.KeptUntil)
}

func returnDisk(s *session.Session) *cobra.Command {
	var number int64
	return act{
		verb: "return-disk", operands: " NUMBER", short: "Give a virtual machine a disk back that is kept",
		long: "Give a virtual machine a disk back that it had, as it was left; `cpucloud vm disks` lists them. The\n" +
			"guest is asked to power itself off before. The disk that it has is kept then.",
		examples: []string{"cpucloud vm return-disk web 0", "cpucloud vm return-disk web 0 --wait && cpucloud vm ssh web"},
		prepare: func(_ context.Context, _ *client.Client, args []string) (err error) {
			number, err = diskNumber(args[1])
			return err
		},
		do: func(c *client.Client, ctx context.Context, id, requestID string) (client.Operation, error) {
			return c.ReturnDisk(ctx, id, number, requestID)
		},
	}.command(s)
}

func purgeDisk(s *session.Session) *cobra.Command {
	yes := false
	var dry session.DryRun
	cmd := &cobra.Command{
		Use:   "purge-disk NAME|ID NUMBER",
		Short: "Purge a disk of a virtual machine that is kept",
		Long: "Purge a disk of a virtual machine that is kept: it can't be had back, and costs nothing any more.\n" +
			"Asks first, unless --yes is given.",
		Example:           session.Lines("cpucloud vm purge-disk web 0", "cpucloud vm purge-disk web 4 --yes"),
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: only(Names(s)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			v, err := Find(cmd.Context(), cloud, args[0])
			if err != nil {
				return err
			}
			number, err := diskNumber(args[1])
			if err != nil {
				return err
			}
			if !yes && !bool(dry) {
				if yes, err = s.Confirm(fmt.Sprintf("Purge disk %d of VM %s (%s)?", number, v.Name, v.ID), "--yes"); err != nil || !yes {
					return err
				}
			}
			if err := dry.Of(cloud).PurgeDisk(cmd.Context(), v.ID, number); err != nil {
				return err
			}
			dry.Note(s)
			t := session.Table{Header: []string{"purged", "of"}}
			t.Add(strconv.FormatInt(number, 10), v.Name)
			return s.Print(map[string]any{"vmId": v.ID, "number": number}, t)
		},
	}
	dry.Bind(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func diskNumber(word string) (int64, error) {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil || n < 0 {
		return 0, fault.Newf(fault.Malformed, "%q is no number of a disk: `cpucloud vm disks` lists them", word)
	}
	return n, nil
}
