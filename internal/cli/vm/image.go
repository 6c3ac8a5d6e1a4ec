package vm

import (
	"context"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func slugs(ctx context.Context, cloud *client.Client) ([]string, error) {
	images, err := cloud.DefaultImages(ctx)
	words := make([]string, len(images))
	for i, image := range images {
		words[i] = image.Slug
	}
	return words, err
}

// preferred are the images taken when none is named; the demo image boots in
// seconds even without hardware virtualisation.
var preferred = []string{"demo", "ubuntu-24-04"}

// imageURL returns the address of the image that word names.
func imageURL(ctx context.Context, cloud *client.Client, word string) (string, error) {
	if strings.Contains(word, "://") {
		return word, nil
	}
	images, err := cloud.DefaultImages(ctx)
	if err != nil {
		return "", err
	}
	if word == "" {
		return defaultImage(images)
	}
	known := make([]string, len(images))
	for i, image := range images {
		if strings.EqualFold(image.Slug, word) {
			return image.DownloadURL, nil
		}
		known[i] = session.Clean(image.Slug)
	}
	return "", fault.Newf(fault.Invalid, "no image %q: give a URL, or one of %s", word, strings.Join(known, ", "))
}

func defaultImage(images []client.Image) (string, error) {
	for _, word := range preferred {
		if i := slices.IndexFunc(images, func(i client.Image) bool { return strings.Contains(i.Slug, word) }); i >= 0 {
			return images[i].DownloadURL, nil
		}
	}
	if len(images) == 0 {
		return "", fault.New(fault.Invalid, "this cloud recommends no image: give the URL of one with --image")
	}
	return images[0].DownloadURL, nil
}
