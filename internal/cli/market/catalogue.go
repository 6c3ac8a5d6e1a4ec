package market

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Images is the noun image.
func Images(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{Use: "image", Short: "Operating systems to run"}, &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the images that the cloud recommends",
		Long:    "List the images that the cloud recommends. A VM may run any other qcow2 or raw image with cloud-init, given by its URL.",
		Example: session.Lines("cpucloud image list", "cpucloud image list -o json | jq -r '.[].downloadUrl'"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			images, err := cloud.DefaultImages(cmd.Context())
			if err != nil {
				return err
			}
			t := session.Table{Header: []string{"slug", "distribution", "name", "user", "url"}}
			for _, i := range images {
				t.Add(i.Slug, i.Distribution, i.Name, i.Username, i.DownloadURL)
			}
			return s.Print(images, t)
		},
	})
}

// Datacenters is the noun datacenter.
func Datacenters(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{Use: "datacenter", Short: "Places where servers stand"}, &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the datacenters of all providers",
		Example: session.Lines("cpucloud datacenter list", "cpucloud datacenter list -o yaml"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			places, err := cloud.Datacenters(cmd.Context())
			if err != nil {
				return err
			}
			t := session.Table{Header: []string{"slug", "country", "city", "tier", "certifications"}}
			for _, d := range places {
				t.Add(PlaceOf(d), d.CountryCode, d.CityCode, fmt.Sprint(d.Tier), strings.Join(d.Certifications, ", "))
			}
			return s.Print(places, t)
		},
	})
}
