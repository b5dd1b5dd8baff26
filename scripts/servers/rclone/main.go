// SPDX-License-Identifier: GPL-3.0-or-later

// rclone with "serve s3" over local folders alone: the whole, with every cloud's SDK, takes three times as long to build.
package main

import (
	_ "github.com/rclone/rclone/backend/local"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/serve"
	_ "github.com/rclone/rclone/cmd/serve/s3"
)

func main() { cmd.Main() }
