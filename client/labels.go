package client

import (
	"context"
	"maps"
	"net/http"
	"net/url"
)

// SetLabels sets the labels of a VM, the whole set, and returns them: at most 32, each
// a value by its key. They look as those of Kubernetes do.
func (c *Client) SetLabels(ctx context.Context, vmID string, labels map[string]string) (map[string]string, error) {
	set := maps.Clone(labels)
	if set == nil {
		set = map[string]string{}
	}
	return c.label(ctx, http.MethodPut, vmID, set)
}

// ChangeLabels sets the labels of a VM that have a value and removes those that have
// none, and returns what there is then.
func (c *Client) ChangeLabels(ctx context.Context, vmID string, changes map[string]*string) (map[string]string, error) {
	if changes == nil {
		changes = map[string]*string{}
	}
	return c.label(ctx, http.MethodPatch, vmID, changes)
}

func (c *Client) label(ctx context.Context, method, vmID string, labels any) (map[string]string, error) {
	var answer struct {
		Labels map[string]string `json:"labels"`
	}
	err := c.do(ctx, call{
		method: method, path: "/v1/vms/" + url.PathEscape(vmID) + "/labels", body: map[string]any{"labels": labels}, answer: &answer, safe: true,
	})
	return answer.Labels, err
}
