package provider

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/listing"
)

func export(s *session.Session) *cobra.Command {
	return verb(s, &cobra.Command{
		Use:   "export",
		Short: "Print what is listed as a file that apply takes",
		Long:  "Print what is listed as a file that `cpucloud provider apply` takes: YAML, or JSON with -o json.",
		Example: session.Lines(
			"cpucloud provider export > offers.yaml",
			"cpucloud provider export --provider 'Example Hosting' -o json | jq '.offers[].prices'",
		),
		Args: cobra.NoArgs,
	}, func(ctx context.Context, at seat, _ []string) error {
		listed, err := at.cloud.Listing(ctx, at.provider)
		if err != nil {
			return err
		}
		l, err := as[listing.Listing](listed)
		if err != nil {
			return err
		}
		l.Provider = at.provider
		for i := range l.Offers { // the cloud takes these in any case of letters, the file does not
			l.Offers[i].Hardware.Storage.Type = listing.StorageType(l.Offers[i].Hardware.Storage.Type)
		}
		if at.Format == session.JSONFormat {
			return at.Print(l, session.Table{})
		}
		text, err := listing.Write(l)
		if err != nil {
			return err
		}
		_, err = at.Out.Write(text)
		return err
	})
}

func schema(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the offers file",
		Long: "Print the JSON Schema of the offers file, with which editors explain and check it while it is written.\n" +
			"Most find it by a first line in the file: # yaml-language-server: $schema=offers.schema.json",
		Example: session.Lines(
			"cpucloud provider schema > offers.schema.json",
			"cpucloud provider schema | jq '.properties | keys'",
		),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := s.Out.Write(listing.Schema())
			return err
		},
	}
}
