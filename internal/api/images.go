package api

import (
	"net/http"
	"time"
)

var defaultImages = operation{
	method: http.MethodGet, path: "/vms/v3/default_images", id: "listDefaultImages", tag: "Virtual machines",
	summary: "List default OS images",
	text:    "Images to choose from; `downloadUrl` is what a deployment takes as `osImage`.",
	response: `[{"id": "5f3f1a6f1c4f4a1e9f5b5c0a6f5e7d8c", "name": "22.04 (LTS) x64", "distribution": "Ubuntu", "slug": "ubuntu-22-04-x64",
		"downloadUrl": "https://cloud-images.ubuntu.com/releases/22.04/release/ubuntu-22.04-server-cloudimg-amd64.img", "username": "ubuntu",
		"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}]`,
}

type image struct {
	ID           string    `json:"id"`
	Name         string    `json:"name" example:"22.04 (LTS) x64"`
	Distribution string    `json:"distribution" example:"Ubuntu"`
	Slug         string    `json:"slug" example:"ubuntu-22-04-x64"`
	DownloadURL  string    `json:"downloadUrl" format:"uri"`
	Username     string    `json:"username" doc:"Whom to log in as." example:"ubuntu"`
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
}

func (a *api) defaultImages(*call, none) ([]image, error) {
	out := make([]image, len(a.control.Images))
	for i, x := range a.control.Images {
		out[i] = image{
			ID: x.ID, Name: x.Name, Distribution: x.Distribution, Slug: x.Slug, DownloadURL: x.URL, Username: x.User,
			CreatedAt: x.Listed.UTC(), UpdatedAt: x.Listed.UTC(),
		}
	}
	return out, nil
}
