//! Classifies the texts of the command line: `cargo run -p berth-runtime --example classify --
//! sentiment.berth "a gripping film"`.

use std::env;
use std::error::Error;

use berth_runtime::Model;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let bundle = arguments.next().ok_or("a bundle's path is missing")?;
    let model = Model::open_verified(bundle)?;
    // One session for each thread; the model is shared.
    let mut session = model.session()?;
    for text in arguments {
        let answer = session.classify(&text)?;
        println!("{text}");
        for row in answer.iter() {
            println!("  {:5.1} %  {}", 100.0 * row.score, row.label);
        }
    }
    Ok(())
}
