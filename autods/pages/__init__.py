"""Pages with thumbnails: self-contained HTML, its look, and the images that it shows."""
