//! Options that change the recipe of a fit.

use clap::{Args, ValueEnum};
use vod_core::{Levels, ScoreStage, ValueKind};
use vod_host::fit::Recipe;

/// Changes of the standard recipe, to see what each part brings.
#[derive(Args)]
#[command(next_help_heading = "Recipe")]
pub struct RecipeChanges {
    /// Shrinkage of the whitened residual space; 0 leaves it plain.
    #[arg(long, value_name = "S")]
    whitening: Option<f64>,
    /// Values that the discriminant weighs.
    #[arg(long, value_enum)]
    values: Option<Values>,
    /// Shares of the discriminant that are tried; one fixes it, 0 is plain distance.
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    blends: Option<Vec<f64>>,
    /// Shares of the generalist that are tried; one fixes it.
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    generalist: Option<Vec<f64>>,
    /// Shrinkage of the discriminant.
    #[arg(long, value_name = "S")]
    shrinkage: Option<f64>,
    /// Synthetic anomalies that the discriminant is fitted on.
    #[arg(long, value_name = "N")]
    synthetic: Option<usize>,
    /// Mirrored copies of a few references in the bank.
    #[arg(long, value_name = "true|false")]
    mirror: Option<bool>,
    /// Smoothing of the map, patches.
    #[arg(long, value_name = "SIGMA")]
    sigma: Option<f64>,
    /// Share of the patches whose mean is the image score.
    #[arg(long, value_name = "P")]
    top_share: Option<f64>,
    /// What the image score is taken from [default: the backbone's].
    #[arg(long, value_enum)]
    image_score: Option<Stage>,
    /// Margin along the frame's edges that the image score leaves out, share of the shorter side.
    #[arg(long, value_name = "SHARE", value_parser = margin)]
    margin: Option<f64>,
    /// Share of what the map's mean in the margin is above the usual one that is taken off the map, below 1.
    #[arg(long, value_name = "SHARE", value_parser = background)]
    background: Option<f64>,
    /// Sizes at which frames are looked at, each half of the one before
    /// [default: the backbone's; 1 for aligned and paired banks].
    #[arg(long, value_name = "1|2|3", value_parser = levels)]
    levels: Option<Levels>,
}

fn levels(text: &str) -> Result<Levels, String> {
    let count = text.parse().ok();
    count
        .and_then(Levels::from_count)
        .ok_or_else(|| "levels are 1, 2 or 3".into())
}

fn margin(text: &str) -> Result<f64, String> {
    share(text, 0.5)
}

fn background(text: &str) -> Result<f64, String> {
    share(text, 1.0)
}

fn share(text: &str, limit: f64) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if (0.0..limit).contains(&share) {
        Ok(share)
    } else {
        Err(format!("a share that is at least 0 and below {limit}"))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    /// The patch scores as they are
    Raw,
    /// The smoothed map
    Smoothed,
    /// The highest patch score and the smoothed map
    Both,
}

#[derive(Clone, Copy, ValueEnum)]
enum Values {
    Signed,
    Magnitude,
}

impl RecipeChanges {
    /// Puts what was given into the recipe.
    pub fn apply(&self, recipe: &mut Recipe) {
        if let Some(shrinkage) = self.whitening {
            recipe.whitening = (shrinkage > 0.0).then_some(shrinkage);
        }
        match self.values {
            Some(Values::Signed) => recipe.values = ValueKind::Signed,
            Some(Values::Magnitude) => recipe.values = ValueKind::Magnitude,
            None => {}
        }
        if let Some(blends) = &self.blends {
            recipe.blends.clone_from(blends);
        }
        if let Some(shares) = &self.generalist {
            recipe.generalist.clone_from(shares);
        }
        recipe.shrinkage = self.shrinkage.unwrap_or(recipe.shrinkage);
        recipe.synthetic = self.synthetic.unwrap_or(recipe.synthetic);
        recipe.mirror = self.mirror.unwrap_or(recipe.mirror);
        recipe.sigma = self.sigma.unwrap_or(recipe.sigma);
        recipe.top_share = self.top_share.unwrap_or(recipe.top_share);
        recipe.margin = self.margin.unwrap_or(recipe.margin);
        recipe.background = self.background.unwrap_or(recipe.background);
        recipe.levels = self.levels.or(recipe.levels);
        recipe.stage = match self.image_score {
            Some(Stage::Raw) => Some(ScoreStage::Raw),
            Some(Stage::Smoothed) => Some(ScoreStage::Smoothed),
            Some(Stage::Both) => Some(ScoreStage::Both),
            None => recipe.stage,
        };
    }
}
