package api

import "github.com/danielgtaylor/huma/v2"

// OpenAPI returns the document as the routes describe it.
func OpenAPI() *huma.OpenAPI { return newAPI(nil, Config{}).document }
